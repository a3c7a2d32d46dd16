"""From k adapters to what they share in every matrix, with the figures that say whether they share anything."""
