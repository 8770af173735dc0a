"""The stages of a study, a file each; `refusal_lens.study.stage` says what a stage is."""
