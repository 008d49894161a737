"""The bimanual world: two ViperX-300 arms over a table, as in ALOHA's simulation (Zhao et al., 2023)."""
