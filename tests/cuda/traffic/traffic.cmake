# The traffic of kernels on the simulated GPU: a program of tests, and count_traffic, which prints what operators and a
# training step move beside what a model predicts of them.
include(${PROJECT_SOURCE_DIR}/cuda/simulator/traffic/counted_kernels.cmake)
add_library(tandem_traffic_patterns OBJECT cuda/traffic/patterns.cu)
target_include_directories(tandem_traffic_patterns PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(tandem_traffic_patterns PRIVATE tandem tandem_kernel_flags)
tandem_counts_accesses(tandem_traffic_patterns)

file(GLOB TRAFFIC_TESTS CONFIGURE_DEPENDS cuda/traffic/*_test.cpp)
add_executable(tandem_traffic_tests ${TRAFFIC_TESTS} cuda/traffic/counted_case.cpp)
set_target_properties(tandem_traffic_tests PROPERTIES OUTPUT_NAME traffic_tests)
add_executable(tandem_count_traffic cuda/traffic/count_traffic.cpp cuda/traffic/counted_case.cpp)
set_target_properties(tandem_count_traffic PROPERTIES OUTPUT_NAME count_traffic)
foreach(program tandem_traffic_tests tandem_count_traffic)
  target_link_libraries(${program} PRIVATE tandem_counted_kernels tandem_traffic tandem_bench_operators)
endforeach()
target_link_libraries(tandem_traffic_tests PRIVATE tandem_traffic_patterns tandem_test_support)
target_link_libraries(tandem_count_traffic PRIVATE tandem_flags)
target_include_directories(tandem_count_traffic PRIVATE ${PROJECT_SOURCE_DIR})

foreach(source ${TRAFFIC_TESTS})
  get_filename_component(name ${source} NAME_WE)
  add_test(NAME ${name} COMMAND tandem_traffic_tests --source-file=*/${name}.cpp)
  tandem_test_properties(${name})
  # New memory is not to be filled with NaN, for each fill would be counted.
  set_tests_properties(${name} PROPERTIES FAIL_REGULAR_EXPRESSION "test cases: +0 "
    ENVIRONMENT "OMP_NUM_THREADS=2;TANDEM_ALLOCATOR=cached")
endforeach()
