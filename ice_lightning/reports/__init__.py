"""What a person sees in the end: figures, pages, films, and what each task leaves in its folder."""
