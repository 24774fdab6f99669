"""The front door: what the web process does with requests for pages.

Owns who is let through when, how bodies and answers pass, and the way to the page
processes. It runs on the event loop that carries live sound: nothing here may be slow,
and nothing may wait or store without a bound. Knows no view.
"""
