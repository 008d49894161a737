"""Stage 2: vision-language-action policies, their backends, serving and training."""
