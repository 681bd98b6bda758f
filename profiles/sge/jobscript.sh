#!/bin/sh
# properties = {properties}
# Writes its exit code to .snakemake/sge/<job id>, which status.py reads when the scheduler no longer knows the job.
code=.snakemake/sge/$JOB_ID
rm -f "$code"
( {exec_job} )
ended=$?
echo $ended > "$code.aside" && mv "$code.aside" "$code"
exit $ended
