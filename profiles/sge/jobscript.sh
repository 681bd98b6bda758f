#!/bin/sh
# properties = {properties}
# Leaves its exit code in .snakemake/sge/<job id>, where status.py looks once the scheduler has forgotten the job.
code=.snakemake/sge/$JOB_ID
rm -f "$code"
( {exec_job} )
ended=$?
echo $ended > "$code.aside" && mv "$code.aside" "$code"
exit $ended
