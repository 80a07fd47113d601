"""The process that loads torch: `worker` carries out orders, `protocol` frames them, `estimate` the costs."""
