"""Importers: from a folder in any layout to an `Import`: samples, classes, an account of all files, questions.

listing      all files, in folders and zips
search       which importer: that of the config's `source`; for `unets new` all, of which the best is taken
masks, run_lengths, table, polygons (with a parser a format: coco, yolo, ...)
             an importer each: finds images and their masks, and begins an `Import` (base)
draws        a mask that is not canonical is a `Draw`, which the import calls once: files, run lengths, areas
assemble     completes the `Import`: ids, groups, sizes, channels, orientation

What they ask: names (which file belongs to which), class_lists and meaning (what values of masks mean), groups (what
must not be split), edges (does a mask fit its image).
"""
