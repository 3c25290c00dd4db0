# How each dependency is found, with its reason in one line.
find_package(OpenMP REQUIRED)           # parallel loops
find_package(fmt REQUIRED)              # error messages and tables
find_package(dnnl REQUIRED)             # oneDNN: every GEMM on the CPU, f32 and bf16
find_package(nlohmann_json REQUIRED)    # safetensors headers, checkpoint configuration, metrics
find_package(CURL REQUIRED)             # downloads of corpora
find_package(libzip REQUIRED)           # their unpacking
find_package(ZLIB REQUIRED)             # gzip-readable dictionaries (gcide.dict.dz)
find_package(OpenSSL REQUIRED)          # sha1 and sha256 of what was downloaded
if(TANDEM_TOOLS)
  find_package(CLI11 REQUIRED)          # command lines
endif()
if(TANDEM_TESTS)
  find_package(doctest REQUIRED)        # tests
endif()

add_library(tandem_private_dependencies INTERFACE)
target_link_libraries(tandem_private_dependencies INTERFACE DNNL::dnnl nlohmann_json::nlohmann_json CURL::libcurl
  libzip::zip ZLIB::ZLIB OpenSSL::Crypto)
