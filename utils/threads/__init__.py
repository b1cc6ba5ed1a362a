"""Work beside other work in one process: items made ahead, tasks done later, how many threads.

Not here: many processes (``utils.distributed``, ``pre_process.cluster``).
"""
