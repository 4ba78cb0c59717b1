"""The data set: from a folder in any layout to a manifest that every stage reads, checked and split.

INPUT, the user's folder, is read by an importer alone, and never written; behind it there are samples: an image, and a
mask of class indices.

    unets new      scaffold        looks at INPUT (importers.search.choose), reads its guess back, and writes dataset.py
                                   with questions; first_experiments chooses a size, a net and steps
    unets import   manifest        reads INPUT as dataset.py says (importers.search.read_input): samples.csv, a row an
                                   image, account.csv, a row a file; masks in another form are drawn once, to masks/
    unets check    checks          reads every file whole, and compares files with dataset.py and each other
    unets data     dump            writes what is read in the plainest form
    unets split    folds           assigns groups to folds, once
    unets train    pseudo_labels   test images with predicted masks, as more training images

`rle_csv` is the form of a csv of run lengths: training masks, a sample submission, a submission.
"""
