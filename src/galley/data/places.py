"""Names of places: the keys of hidden facts in long texts, and of what a small retrieving model is taught to look up.

Source: ours. Shared, because a model whose tokenizer knows the keys (galley.train.base) is asked for them (galley.evaluate.long).
"""

from __future__ import annotations

PLACES = (
    "Lisbon", "Oslo", "Kyoto", "Quito", "Tunis", "Perth", "Lima", "Riga", "Accra", "Turin", "Bergen", "Dakar", "Delhi", "Dublin",
    "Geneva", "Havana", "Hanoi", "Jakarta", "Kigali", "Kiev", "Lagos", "Leeds", "Lyon", "Madrid", "Malaga", "Manila", "Milan", "Nairobi",
    "Naples", "Nice", "Osaka", "Paris", "Porto", "Prague", "Rabat", "Rome", "Seoul", "Seville", "Sofia", "Sydney", "Tallinn", "Tampa",
    "Tokyo", "Toledo", "Toronto", "Venice", "Vienna", "Warsaw", "Zagreb", "Zurich",
)  # fmt: skip
PARTS = (
    "harbour", "station", "library", "market", "theatre", "garden", "castle", "bridge", "museum", "airport", "chapel", "stadium",
    "archive", "brewery", "clinic", "college", "court", "dock", "factory", "forum", "gallery", "gate", "hospital", "hotel", "mill",
    "mint", "observatory", "palace", "park", "prison", "quarry", "school", "square", "tavern", "temple", "tower", "tunnel", "university",
    "vault", "warehouse", "wharf", "windmill", "works", "yard", "zoo",
)  # fmt: skip
