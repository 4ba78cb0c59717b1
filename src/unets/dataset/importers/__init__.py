"""Importers: from a folder in any layout to an `Import`: samples, classes, an account of all files, questions.

1. `listing` lists all files, in folders and zips. `search` finds the importer: that of the config's `source`; for
   `unets new` all look, and the one that explains most is taken.
2. The importer finds images and their masks, and begins an `Import` (`base`):

       masks         files beside images, paired by their names (`names`)
       table         a csv of paths, or by hand
       run_lengths   a csv of run lengths
       polygons      what the parser of a format finds: `labelme`, for one

3. What values of mask files mean is found by lists of classes (`class_lists`) and by what they look like (`meaning`). A
   mask in another form is a `Draw` (`draws`), which the import calls once: files, run lengths, or areas.
4. `assemble` completes the `Import`: sizes, channels, orientation (`edges`: does a mask fit its image?), ids, and
   groups, which must not be split (`groups`).

What the files do not settle becomes a question, wherever it turns up: `Import.ask`.
"""
