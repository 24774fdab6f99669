"""Forms as a browser sends them: with everything that their page has filled in."""

from html.parser import HTMLParser


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.forms, self._text, self._select = {}, None, None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self._fields = self.forms.setdefault(attrs.get("id", ""), {})
        elif not self.forms or (tag != "option" and not attrs.get("name")):
            return
        elif tag == "input":
            kind = attrs.get("type", "text")
            if kind not in ("radio", "checkbox") or "checked" in attrs:
                self._fields.setdefault(attrs["name"], []).append(
                    attrs.get("value") or ""
                )
        elif tag == "textarea":
            self._text = attrs["name"]
            self._fields[self._text] = [""]
        elif tag == "select":
            self._select = attrs["name"]
        elif tag == "option" and self._select and "selected" in attrs:
            value = attrs.get("value") or ""
            self._fields.setdefault(self._select, []).append(value)

    def handle_endtag(self, tag):
        if tag == "textarea" and self._text:
            # The first line end after the tag is not part of the text.
            text = self._fields[self._text][0]
            self._fields[self._text] = [text.removeprefix("\n")]
            self._text = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data):
        if self._text:
            self._fields[self._text][0] += data


def filled_in(response, form="persona-form"):
    """Names and values of one form of a page."""
    parser = _Forms()
    parser.feed(response.content.decode())
    return parser.forms[form]
