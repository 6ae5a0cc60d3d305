"""The rules of all stages as functions of arrays. They know neither Ray, nor files, nor options."""
