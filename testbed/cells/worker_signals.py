"""Ignores Ctrl-C and hang-ups in this process and those that it forks; importing the module does it.

The server process that forks workers loads this module first. Both signals reach the whole process group, and only the
command itself acts on them. A worker that ignored them later would die of a Ctrl-C in its first milliseconds.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
