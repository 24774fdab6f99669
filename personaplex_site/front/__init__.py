"""The front door: what the web process does with requests for pages.

Limits who is served when, streams bodies and answers, and relays requests to the page
processes. It runs on the event loop that carries live sound: nothing here may be slow,
and nothing may wait or store without a bound. It must not depend on views.
"""
