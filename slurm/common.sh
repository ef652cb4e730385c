# Sourced by the batch scripts: where the program is, how its ranks are started, and what follows when it ends.
# What an environment or `sbatch --export` may set is read here; each batch script lists what else it knows.

# site: what the program was built with, e.g. `module load openmpi hdf5`, belongs here

: "${BITCLUSTER_ROOT:=$SLURM_SUBMIT_DIR}"              # of the repository
: "${PROGRAM:=$BITCLUSTER_ROOT/build/bitcluster}"
: "${LAUNCHER:=srun}"                                  # srun | mpirun
: "${MAX_RESTARTS:=100}"                               # a job that is stopped again and again ends after so many
export SLURM_MPI_TYPE=${SLURM_MPI_TYPE:-pmix}          # of srun; `srun --mpi=list` names what there is

say() { printf '== %s: %s\n' "$(date '+%F %T')" "$*" >&2; }

[ -x "$PROGRAM" ] || {
  say "'$PROGRAM' is not there: submit from the root of the repository, set BITCLUSTER_ROOT, or build the program first"
  exit 1
}

# The results file of a config's model, by its position and name; beside OUTPUT.
part_of() { printf '%s-%02d-%s.h5\n' "${OUTPUT%.h5}" "$1" "${2//[^A-Za-z0-9._-]/_}"; }

# A rank that dies must not leave the others waiting for ever, but ranks that stop for a signal, all with a status of
# their own, must not be killed while they do: --wait, not --kill-on-bad-exit.
launch() {
  case $LAUNCHER in
    srun) exec srun --kill-on-bad-exit=0 --wait=10 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$@" ;;
    mpirun) exec mpirun -np "$SLURM_NTASKS" --bind-to none "$@" ;;
    *) say "LAUNCHER=$LAUNCHER is not known: use srun or mpirun"; exit 1 ;;
  esac
}

# Names of the config's models.
read_models() {
  local names
  names=$("$PROGRAM" models "$CONFIG")
  mapfile -t models <<<"$names"
}

# resume OUTPUT ARGUMENT...: runs or goes on with `bitcluster ARGUMENT... -o OUTPUT`, and ends the script.
# USR1 (Slurm's --signal, before the time limit) and TERM go on to the ranks, which finish and record what has begun and
# end with status 75. The job is then queued again, as it is after a failure that let it record new results before (a
# node that went down, a process that was killed). Any other failure would be the same again and is the job's end.
resume() {
  local output=$1 before launcher status why signalled=no caught
  shift
  recorded() { stat -c %s "$output.journal" 2>/dev/null || echo 0; }
  before=$(recorded)
  launch "$PROGRAM" --threads "${SLURM_CPUS_PER_TASK:-1}" "$@" -o "$output" --resume &
  launcher=$!
  trap 'caught=yes signalled=yes; kill -USR1 $launcher 2>/dev/null || true' USR1 TERM
  while caught=no; do
    wait $launcher && status=0 || status=$?
    [ $caught = yes ] || break  # else the status is that of wait
  done
  [ $status -ne 0 ] || exit 0
  if [ $status -eq 75 ] || { [ $signalled = yes ] && [ $status -gt 128 ]; }; then
    why="stopped by a signal"
  elif [ "$(recorded)" -gt "$before" ]; then
    why="failed with status $status after new results"
  else
    say "failed with status $status and no new results: not queued again"
    exit $status
  fi
  local job=$SLURM_JOB_ID  # which may name a whole array
  [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
  # a job that was cancelled, or that Slurm itself has queued again, is no longer RUNNING
  if [ "$(squeue --noheader --jobs="$job" --format=%T)" != RUNNING ]; then
    say "$why; Slurm has ended the job"
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_RESTARTS" ]; then
    say "$why; not queued again after $SLURM_RESTART_COUNT restarts; submit the job again to go on"
  else
    say "$why; queued again"
    scontrol requeue "$job"
  fi
  exit $status
}
