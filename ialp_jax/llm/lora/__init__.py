"""Fine-tuning by LoRA on what offline users liked next."""
