# Decides how the CUDA backend is built: with the toolkit if there is one, or simulated on the CPU. Sets TANDEM_CUDA_BUILD
# to ON, OFF or SIMULATE. Included before the first library: a language enabled later does not reach its targets.
set(TANDEM_CUDA AUTO CACHE STRING "CUDA backend: AUTO (where the toolkit is found), ON, OFF, or SIMULATE (on the CPU, for tests)")
set_property(CACHE TANDEM_CUDA PROPERTY STRINGS AUTO ON OFF SIMULATE)
set(TANDEM_CUDA_BUILD ${TANDEM_CUDA})
if(NOT TANDEM_CUDA MATCHES "^(AUTO|ON|OFF|SIMULATE)$")
  message(FATAL_ERROR " TANDEM_CUDA is ${TANDEM_CUDA}; use AUTO, ON, OFF or SIMULATE")
endif()

if(TANDEM_CUDA MATCHES "^(AUTO|ON)$")
  # The toolkit's installer does not add its programs to the PATH.
  find_program(TANDEM_NVCC nvcc PATHS ENV CUDACXX /usr/local/cuda/bin)
  mark_as_advanced(TANDEM_NVCC)
  if(TANDEM_NVCC)
    set(CMAKE_CUDA_COMPILER ${TANDEM_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES OFF CACHE STRING "GPUs to compile for, such as 80-real;90. OFF: code for sm_80 and sm_90, and PTX for what comes later")
    # The loader that CMake would add for every program is wanted by none.
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    enable_language(CUDA)
    # CMake 3.25 does not know nvcc's flag for C++20.
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    # One pass from C++ to PTX serves all: no kernel asks for more than compute_80, and for compute_90 the PTX is the same but
    # for the line that names the target. CMake would run the pass once for each architecture.
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      string(APPEND CMAKE_CUDA_FLAGS " --generate-code=arch=compute_80,code=[compute_80,sm_80,sm_90]")
    endif()
    find_package(CUDAToolkit REQUIRED)
    set(TANDEM_CUDA_BUILD ON)
  elseif(TANDEM_CUDA STREQUAL "ON")
    message(FATAL_ERROR " TANDEM_CUDA is ON, but there is no nvcc on the PATH or in /usr/local/cuda/bin; set CUDACXX, or use AUTO or OFF")
  else()
    set(TANDEM_CUDA_BUILD OFF)
  endif()
endif()
