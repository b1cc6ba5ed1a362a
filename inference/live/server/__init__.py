"""A page to watch a live run by: pictures, scores, alarms, numbers; in a thread of its own.

Not here: what is shown is made elsewhere (``inference.live.writer``); nothing here is waited for.
"""
