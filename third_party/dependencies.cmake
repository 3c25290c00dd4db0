# How each dependency is found, with its reason in one line (third_party/README.md says more). The build includes this
# file and find_package(tandem) too, installed. What is missing is left in tandem_missing, by its Debian package.
set(tandem_missing "")

# TANDEM_PREFIX: the folder into which `tools/setup --prefix` unpacked Debian packages; it goes before the system's.
if(TANDEM_PREFIX)
  list(PREPEND CMAKE_PREFIX_PATH ${TANDEM_PREFIX}/usr)
endif()

# A dependency with a CMake package or a find module that can be relied on.
macro(tandem_find_package name debian)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    list(APPEND tandem_missing ${debian})
  endif()
endmacro()

# A dependency found by one header and one library, as the CMake package that its distribution ships asks for more
# than the library: oneDNN's for OpenCL's headers, libzip's for its command-line programs.
macro(tandem_find_library target header library debian)
  if(NOT TARGET ${target})
    find_path(TANDEM_${library}_INCLUDE ${header})
    find_library(TANDEM_${library}_LIBRARY ${library})
    mark_as_advanced(TANDEM_${library}_INCLUDE TANDEM_${library}_LIBRARY)
    if(TANDEM_${library}_INCLUDE AND TANDEM_${library}_LIBRARY)
      add_library(${target} UNKNOWN IMPORTED)
      set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${TANDEM_${library}_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${TANDEM_${library}_INCLUDE})
    else()
      list(APPEND tandem_missing ${debian})
    endif()
  endif()
endmacro()

# With clang, OpenMP's headers and library are a package of its own, one for each version.
set(tandem_openmp g++)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  string(REGEX MATCH "^[0-9]+" tandem_openmp ${CMAKE_CXX_COMPILER_VERSION})
  set(tandem_openmp libomp-${tandem_openmp}-dev)
endif()

tandem_find_package(OpenMP ${tandem_openmp} COMPONENTS CXX)                       # parallel loops
tandem_find_package(fmt libfmt-dev)                                               # error messages and tables
tandem_find_library(DNNL::dnnl oneapi/dnnl/dnnl.hpp dnnl libdnnl-dev)             # oneDNN: every GEMM on the CPU
tandem_find_package(nlohmann_json nlohmann-json3-dev)                             # safetensors headers, settings, metrics
tandem_find_package(CURL libcurl4-openssl-dev)                                    # downloads of corpora
tandem_find_library(libzip::zip zip.h zip libzip-dev)                             # their unpacking
tandem_find_package(ZLIB zlib1g-dev)                                              # the gzip-readable gcide.dict.dz
tandem_find_package(OpenSSL libssl-dev COMPONENTS Crypto)                         # sha1 and sha256 of what was downloaded
if(TANDEM_CUDA_BUILD STREQUAL "SIMULATE")
  tandem_find_package(Boost libboost-context-dev COMPONENTS context)              # the simulator's threads are its fibers
elseif(TANDEM_CUDA_BUILD STREQUAL "ON")
  find_package(CUDAToolkit REQUIRED)                                              # cublasLt: every GEMM on a GPU
  find_path(TANDEM_cudnn_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(TANDEM_cudnn_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
  mark_as_advanced(TANDEM_cudnn_INCLUDE TANDEM_cudnn_LIBRARY)
  if(TANDEM_cudnn_INCLUDE AND TANDEM_cudnn_LIBRARY AND NOT TARGET CUDA::cudnn)
    add_library(CUDA::cudnn UNKNOWN IMPORTED)
    set_target_properties(CUDA::cudnn PROPERTIES IMPORTED_LOCATION ${TANDEM_cudnn_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${TANDEM_cudnn_INCLUDE})
  endif()
endif()
if(TANDEM_TOOLS)
  tandem_find_package(CLI11 libcli11-dev)                                         # command lines
endif()
if(TANDEM_TESTS)
  tandem_find_package(doctest doctest-dev)                                        # tests
endif()

# Debian keeps one of OpenSSL's headers in a folder that compilers search by themselves only under /usr.
if(TANDEM_PREFIX AND TARGET OpenSSL::Crypto)
  target_include_directories(OpenSSL::Crypto SYSTEM INTERFACE ${TANDEM_PREFIX}/usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
endif()
