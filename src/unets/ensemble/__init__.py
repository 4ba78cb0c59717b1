"""From probability maps to final masks: blending, selection, post-processing.

`recipe` makes a mask of the members' maps (`postprocess` has its steps). `oof` scores out-of-fold images under recipes,
in workers; `mask_scores` does many recipes of one image at once. `fit` goes over the images some times: members alone,
candidates (`selection`, `weights`), and what each part of the whole contributes; it writes what `ensemble` reads.
`pseudo_labels` masks test images for training, `score` scores a submission, `shape` measures masks.
"""
