// Marks what the host and a GPU compute alike.
#pragma once

#ifdef __CUDACC__
#define ICE_BOTH __host__ __device__
#else
#define ICE_BOTH
#endif
