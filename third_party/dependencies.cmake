# Finds each dependency; third_party/README.md says why it is here. The build includes this file, and find_package(tandem)
# includes its installed copy. Sets tandem_missing to the Debian packages of the dependencies that were not found.
set(tandem_missing "")

# TANDEM_PREFIX is the folder into which `tools/setup --prefix` unpacked Debian packages, searched before the system's.
if(TANDEM_PREFIX)
  list(PREPEND CMAKE_PREFIX_PATH ${TANDEM_PREFIX}/usr)
endif()

# Finds a dependency by its CMake package or find module.
macro(tandem_find_package name debian)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    list(APPEND tandem_missing ${debian})
  endif()
endmacro()

# Finds a dependency by one header and one library, because its CMake package in Debian requires more than the library, as
# that of oneDNN requires OpenCL's headers and that of libzip its command-line programs, or because it has none.
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

# Finds a dependency that is one header.
macro(tandem_find_header target header debian)
  if(NOT TARGET ${target})
    find_path(TANDEM_${header}_INCLUDE ${header})
    mark_as_advanced(TANDEM_${header}_INCLUDE)
    if(TANDEM_${header}_INCLUDE)
      add_library(${target} INTERFACE IMPORTED)
      target_include_directories(${target} SYSTEM INTERFACE ${TANDEM_${header}_INCLUDE})
    else()
      list(APPEND tandem_missing ${debian})
    endif()
  endif()
endmacro()

# For clang, OpenMP's headers and library are a separate package, one for each version.
set(tandem_openmp g++)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  string(REGEX MATCH "^[0-9]+" tandem_openmp ${CMAKE_CXX_COMPILER_VERSION})
  set(tandem_openmp libomp-${tandem_openmp}-dev)
endif()

tandem_find_package(OpenMP ${tandem_openmp} COMPONENTS CXX)                       # SIMD loops, number of threads
tandem_find_package(fmt libfmt-dev)                                               # error messages and tables
tandem_find_library(DNNL::dnnl oneapi/dnnl/dnnl.hpp dnnl libdnnl-dev)             # oneDNN: every GEMM on the CPU
tandem_find_package(CURL libcurl4-openssl-dev)                                    # downloading corpora
tandem_find_library(libzip::zip zip.h zip libzip-dev)                             # unpacking zip archives
tandem_find_package(ZLIB zlib1g-dev)                                              # gzip: gcide.dict.dz, the archive of lm1b
tandem_find_package(OpenSSL libssl-dev COMPONENTS Crypto)                         # sha1 and sha256 of downloads, base64
tandem_find_library(SentencePiece::processor sentencepiece_processor.h sentencepiece libsentencepiece-dev)  # subwords
tandem_find_library(SentencePiece::trainer sentencepiece_trainer.h sentencepiece_train libsentencepiece-dev)
list(REMOVE_DUPLICATES tandem_missing)
if(TANDEM_CUDA_BUILD STREQUAL "SIMULATE")
  tandem_find_package(Boost libboost-context-dev COMPONENTS context)              # fibers, the simulator's threads
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
# Headers alone, which the installed libraries no longer need.
if(NOT TANDEM_INSTALLED)
  tandem_find_package(nlohmann_json nlohmann-json3-dev)                           # safetensors headers, settings, metrics
  tandem_find_header(xxHash::header xxhash.h libxxhash-dev)                       # xxh3: digests in files
endif()
# Several processes in one run (core/ranks_mpi.cpp), if MPI is installed. An installed Tandem needs it if its build had it.
# CMake finds MPI's C library only where C is enabled.
if(NOT DEFINED TANDEM_WITH_MPI OR TANDEM_WITH_MPI)
  include(CheckLanguage)
  check_language(C)
  if(CMAKE_C_COMPILER)
    enable_language(C)
    find_package(MPI QUIET COMPONENTS C)
  endif()
  if(DEFINED TANDEM_WITH_MPI AND NOT MPI_C_FOUND)
    list(APPEND tandem_missing libopenmpi-dev)
  endif()
endif()
# An HTTP server for the program serve, in tandem::training. Debian's package has no CMake package. Its library is compiled
# with these definitions, which its header must see, too; where there is none (Ubuntu 22.04), the header holds everything.
if(TANDEM_TRAINING OR TANDEM_WITH_TRAINING)
  find_path(TANDEM_httplib_INCLUDE httplib.h)
  find_library(TANDEM_httplib_LIBRARY cpp-httplib)
  mark_as_advanced(TANDEM_httplib_INCLUDE TANDEM_httplib_LIBRARY)
  if(NOT TANDEM_httplib_INCLUDE)
    list(APPEND tandem_missing libcpp-httplib-dev)
  elseif(NOT TARGET httplib::httplib)
    add_library(httplib::httplib INTERFACE IMPORTED)
    target_include_directories(httplib::httplib SYSTEM INTERFACE ${TANDEM_httplib_INCLUDE})
    if(TANDEM_httplib_LIBRARY)
      target_link_libraries(httplib::httplib INTERFACE ${TANDEM_httplib_LIBRARY} OpenSSL::Crypto)
      target_compile_definitions(httplib::httplib INTERFACE
        CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT CPPHTTPLIB_BROTLI_SUPPORT)
    endif()
  endif()
endif()
if(TANDEM_TRAINING OR TANDEM_FUZZ)
  tandem_find_package(CLI11 libcli11-dev)                                         # command lines
endif()
if(TANDEM_TESTS)
  tandem_find_package(doctest doctest-dev)                                        # tests
endif()

# Debian keeps one of OpenSSL's headers in a folder that compilers search only under /usr unless told.
if(TANDEM_PREFIX AND TARGET OpenSSL::Crypto)
  target_include_directories(OpenSSL::Crypto SYSTEM INTERFACE ${TANDEM_PREFIX}/usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
endif()
