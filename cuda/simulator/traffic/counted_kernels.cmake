# Kernels that report their accesses to memory to the simulator, for programs that count them (traffic.h).
#
# tandem_counted_kernels: cuda/*.cu once more, compiled so that g++ calls a function at each access. Its flag for that is
# ThreadSanitizer's, whose library is not linked: hooks.cpp has the functions. -O1 keeps values in registers as nvcc does
# and makes no vectors; without -ftree-sra the accesses to structures such as float4 stay whole. The objects have none of
# the flags of TANDEM_SANITIZE, with which this one does not go together; the rest of a program may have them.
#
# A program that links the objects takes kernels from there: the same functions in the archive of libtandem are not needed
# any more, so that the linker leaves those files out.
file(GLOB COUNTED_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/*.cu ${PROJECT_SOURCE_DIR}/cuda/runtime/*.cu)
add_library(tandem_counted_kernels OBJECT ${COUNTED_SOURCES})
target_link_libraries(tandem_counted_kernels PRIVATE tandem tandem_kernel_flags)

file(GLOB TRAFFIC_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/simulator/traffic/*.cpp)
add_library(tandem_traffic OBJECT ${TRAFFIC_SOURCES})
target_compile_options(tandem_traffic PRIVATE -O2)  # tests wait for it, in any build
target_link_libraries(tandem_traffic PRIVATE tandem tandem_flags)
target_include_directories(tandem_traffic PRIVATE ${PROJECT_SOURCE_DIR}/cuda/simulator)

# Compiles sources as kernels that report their accesses, in the folder that calls this.
function(tandem_counts_accesses target)
  get_target_property(sources ${target} SOURCES)
  set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas)  # unroll
  target_compile_options(${target} PRIVATE -O1 -fno-tree-sra -fsanitize=thread --param=tsan-instrument-func-entry-exit=0)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cuda/simulator)
endfunction()
tandem_counts_accesses(tandem_counted_kernels)
