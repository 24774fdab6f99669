// The site tells on the page after a save which draft it has saved: that one is done.

import { Drafts } from "./drafts.js";

for (const notice of document.querySelectorAll("[data-saved-draft]")) {
  Drafts.removeSaved(notice.dataset.savedDraft);
}
