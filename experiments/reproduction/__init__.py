"""The paper's tables: what each row trains, the runs that are missing, and tables with the paper's figures beside ours.

===============  =======================================================================================
``rows``         every row of Tables 1–5 and supplement Table 1 as one line: method, sizes, what it should show
``scale``        how the paper's ranks, dimensions and numbers of scenes become those of a preset
``plan``         the runs that tables and seeds need, each once, and what they cost
``data``         the tasks' data sets and the attributes' subspaces
``rates``        the same search of a learning rate for every method, on validation scenes
``execution``    fine-tune, evaluate, and keep a record of each run that later commands find
``tables``       means over seeds as Markdown, LaTeX and CSV, best and second best marked
``claims``       the paper's claims as paired comparisons over test scenes
``paper.json``   what the paper prints
===============  =======================================================================================
"""
