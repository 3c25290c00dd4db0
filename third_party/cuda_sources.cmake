# The function tandem_cuda_sources(), for Tandem's own programs and for projects that find Tandem. The including file
# sets TANDEM_CUDA_BUILD (ON, OFF or SIMULATE) and TANDEM_SIMULATOR_INCLUDE, the folder of the simulator's headers.
#
# tandem_cuda_sources(TARGET FILE.cu...) adds the kernels of a target: for nvcc, for the simulated GPU as C++, or not at all
# where Tandem has no GPU, because TANDEM_DISPATCH then refers to none.
function(tandem_cuda_sources target)
  if(TANDEM_CUDA_BUILD STREQUAL "OFF")
    return()
  endif()
  target_sources(${target} PRIVATE ${ARGN})
  if(TANDEM_CUDA_BUILD STREQUAL "ON")
    if(NOT CMAKE_CUDA_COMPILER_LOADED)
      message(FATAL_ERROR " tandem_cuda_sources: call enable_language(CUDA) behind find_package(tandem) and before this")
    endif()
    target_link_libraries(${target} PRIVATE CUDA::cudart_static)
  else()
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas
      INCLUDE_DIRECTORIES "${TANDEM_SIMULATOR_INCLUDE}")
  endif()
endfunction()
