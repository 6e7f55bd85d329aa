"""Operations on labs."""
