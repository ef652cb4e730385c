#pragma once

// Takes the place of NCCL's header when g++ compiles cuda/nccl.cu for the tests: collectives by MPI over all ranks, on
// memory of the device that the process itself is.

#include <cuda_runtime.h>
#include <mpi.h>

#include <cstring>

enum ncclResult_t { ncclSuccess = 0, ncclInternalError = 3, ncclInvalidArgument = 4 };
enum ncclDataType_t { ncclUint8, ncclInt64 };
enum ncclRedOp_t { ncclSum };
struct ncclUniqueId {
  char internal[128];
};
using ncclComm_t = struct ncclComm*;

namespace cuda_on_cpu {

/// As many devices as the largest number of ranks.
inline const bool has_devices = (set_device(4, std::size_t(1) << 32), true);

inline ncclResult_t result_of(int status) { return status == MPI_SUCCESS ? ncclSuccess : ncclInternalError; }

}  // namespace cuda_on_cpu

inline const char* ncclGetErrorString(ncclResult_t) { return "a collective failed"; }
inline ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  for (int i = 0; i < 128; ++i) id->internal[i] = char(3 * i + 1);
  return ncclSuccess;
}
/// All ranks must bring the id, their own rank and the number of all.
inline ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int size, ncclUniqueId id, int rank) {
  ncclUniqueId made;
  ncclGetUniqueId(&made);
  int ranks = 0, mine = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm_rank(MPI_COMM_WORLD, &mine);
  if (size != ranks || rank != mine || std::memcmp(&id, &made, sizeof id) != 0) return ncclInvalidArgument;
  *communicator = reinterpret_cast<ncclComm_t>(communicator);
  return ncclSuccess;
}
inline ncclResult_t ncclCommDestroy(ncclComm_t) { return ncclSuccess; }
inline ncclResult_t ncclCommAbort(ncclComm_t) { return ncclSuccess; }
inline ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}
inline ncclResult_t ncclBroadcast(const void* from, void* to, std::size_t count, ncclDataType_t type, int root,
                                  ncclComm_t, cudaStream_t) {
  cuda_on_cpu::check_device_pointer(from);
  cuda_on_cpu::check_device_pointer(to);
  if (from != to) return ncclInvalidArgument;  // the only case that is used
  return cuda_on_cpu::result_of(
      MPI_Bcast(to, int(count), type == ncclInt64 ? MPI_INT64_T : MPI_BYTE, root, MPI_COMM_WORLD));
}
inline ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t,
                                  ncclComm_t, cudaStream_t) {
  cuda_on_cpu::check_device_pointer(from);
  cuda_on_cpu::check_device_pointer(to);
  if (from != to) return ncclInvalidArgument;
  return cuda_on_cpu::result_of(MPI_Allreduce(MPI_IN_PLACE, to, int(count),
                                              type == ncclInt64 ? MPI_INT64_T : MPI_UINT8_T, MPI_SUM, MPI_COMM_WORLD));
}
