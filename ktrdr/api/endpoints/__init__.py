"""One module per resource; endpoints translate, use-cases decide."""
