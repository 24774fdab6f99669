// The newest CSRF token. It changes when the user signs in, in another tab too; its
// cookie is of this browser and can be read by pages of this site only, so that sending
// it proves no less than sending the one that came with the page.

/** "" where the browser keeps no such cookie. */
export function csrfToken() {
  const name = `${document.body.dataset.csrfCookie}=`;
  const cookie = document.cookie.split("; ").find((each) => each.startsWith(name));
  return cookie?.slice(name.length) ?? "";
}
