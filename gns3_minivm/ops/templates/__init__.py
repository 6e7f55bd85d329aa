"""Operations on templates: register, sync, status, remove, and what they share."""
