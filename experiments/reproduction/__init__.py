"""The paper's tables: what each row trains, the runs that are missing, and tables with the paper's figures beside ours.

===============  =======================================================================================
``rows``         every row of Tables 1–5 and supplement Table 1 as one line: method, sizes, what it should show
``scale``        how the paper's ranks, dimensions and numbers of scenes become those of a preset
``plan``         the runs that tables and seeds need, each once, and what they cost
``data``         the tasks' data sets and the attributes' subspaces
``schedule``     what is missing, in which order: learning rates to compare on validation scenes, then runs
``execution``    one job: fine-tune, evaluate, and a record of it
``places``       where jobs are done: here, or several at a time in processes of their own
``records``      what a run leaves, found by later commands
``tables``       means over seeds as Markdown, LaTeX and CSV, best and second best marked
``claims``       the paper's claims as paired comparisons over test scenes
``paper.json``   what the paper prints
===============  =======================================================================================
"""
