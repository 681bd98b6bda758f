"""What a bundle's scripts folder holds. These files run without neurocohort: only numpy, torch, nibabel and MONAI are there."""
