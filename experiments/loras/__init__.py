"""Collections of LoRAs of any model: what they are, what they share, merged and written back.

- :mod:`~experiments.loras.collection`: opened, checked and read one matrix at a time;
- :mod:`~experiments.loras.similarity`: which are alike; :mod:`~experiments.loras.merging`, :mod:`~experiments.loras.parts`: one
  LoRA of many, or the part of one in a subspace;
- :mod:`~experiments.loras.mining`, :mod:`~experiments.loras.report`: their shared subspace, with its page;
- :mod:`~experiments.loras.writing`: what is written, with a model card.
"""
