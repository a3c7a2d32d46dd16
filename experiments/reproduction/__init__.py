"""The paper's tables, made again, with the paper's figures beside ours::

    from experiments.reproduction import Settings, reproduce

    found = reproduce(Settings(tables=("3",), seeds=(0, 1, 2)))
    found.tables[0].lines, found.findings, found.page

=================  =======================================================================================
``rows``           every row of Tables 1–5 and supplement Table 1: method, sizes, what it should show
``paper.json``     what the paper prints for each row
``scale``          how the paper's ranks and dimensions become those of a preset
``plan``           the runs that tables and seeds need, each once
``cost``           what of them is left to run, and how long it takes
``inputs``         the tasks' data sets and the attributes' subspaces
``actions``        what comes next, as pure states: learning rates to compare on validation scenes, then runs
``schedule``       the loop that works a plan off
``execution``      one job: fine-tune, evaluate, and a record of it
``workers``        where jobs are done: here, or several at a time in processes of their own
``records``        what a run leaves
``record_folder``  the records that later commands find, and whether they belong together
``tables``         means over seeds as Markdown, LaTeX and CSV, best and second best marked
``seed_effects``   whether another seed changes all methods alike
``notes``          where a table is made otherwise than the paper's
``crossed``        the test of a difference with seeds and scenes at random, and the correction for many tests
``claims``         the paper's claims as comparisons over the same seeds and test scenes
``labels``         what rows and metrics are called in tables
``pipeline``       all of it, from settings to tables
=================  =======================================================================================
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.reproduction.pipeline import Reproduced as Reproduced
    from experiments.reproduction.pipeline import reproduce as reproduce
    from experiments.reproduction.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"pipeline": ["Reproduced", "reproduce"], "settings": ["Settings"]}
)
