"""What a process sets up before the work begins: processors, devices, signals, locks, profiling."""
