"""
@article{Liu2022,
title = {Isotropic reconstruction for electron tomography with deep learning},
author = {Liu, Yun-Tao and Zhang, Heng and Wang, Hui and Tao, Chang-Lu and Bi, Guo-Qiang and Zhou, Z. Hong},
journal = {Nature Communications},
volume = {13},
pages = {6482},
year = {2022},
doi = {https://doi.org/10.1038/s41467-022-33957-8},
url = {https://doi.org/10.1038/s41467-022-33957-8}
}

@article{Wiedemann2024,
title = {A deep learning method for simultaneous denoising and missing wedge reconstruction in cryogenic electron
tomography},
author = {Wiedemann, Simon and Heckel, Reinhard},
journal = {Nature Communications},
volume = {15},
pages = {8255},
year = {2024},
doi = {https://doi.org/10.1038/s41467-024-51438-y},
url = {https://doi.org/10.1038/s41467-024-51438-y}
}

@article{Liu2025,
title = {IsoNet2 determines cellular structures at submolecular resolution without averaging},
author = {Liu, Yun-Tao and Fan, Hongcheng and Jih, Jonathan and Tran, Liam and Zhang, Xiaoying and Zhou, Z. Hong},
journal = {bioRxiv (preprint, PMC12869683)},
year = {2025},
url = {https://pmc.ncbi.nlm.nih.gov/articles/PMC12869683/}
}

@article{Tegunov2019,
title = {Real-time cryo-electron microscopy data preprocessing with Warp},
author = {Tegunov, Dimitry and Cramer, Patrick},
journal = {Nature Methods},
volume = {16},
pages = {1146-1152},
year = {2019},
doi = {https://doi.org/10.1038/s41592-019-0580-y},
url = {https://doi.org/10.1038/s41592-019-0580-y}
}
"""
