"""The professional's card, the assertion PS and the organisation's certificate."""
