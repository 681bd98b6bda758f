"""The scripts that are copied into a bundle. They run without neurocohort, with numpy, torch, nibabel and MONAI alone."""
