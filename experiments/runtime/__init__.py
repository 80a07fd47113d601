"""Set-up of a process before the work begins: processors, devices, signals, locks, profiling."""
