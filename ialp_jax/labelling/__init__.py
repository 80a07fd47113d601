"""From prompts to labels: who proposes, who answers, where answers are stored, how good they are."""
