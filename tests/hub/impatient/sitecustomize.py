"""On the path of a process under test: nothing waits before it tries again."""

import time

time.sleep = lambda seconds: None
