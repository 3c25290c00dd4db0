# Included by CMakeLists.txt: adds built_in_models.cpp, the list of the blocks TANDEM_MODELS(name) in models/, to the library.
# Run as a script with -DMODELS and -DOUTPUT: writes that file.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  file(GLOB_RECURSE MODEL_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/models/*.cpp)
  set(BUILT_IN_MODELS ${PROJECT_BINARY_DIR}/generated/built_in_models.cpp)
  add_custom_command(OUTPUT ${BUILT_IN_MODELS} DEPENDS ${MODEL_SOURCES} ${CMAKE_CURRENT_LIST_FILE} VERBATIM
    COMMAND ${CMAKE_COMMAND} -DMODELS=${PROJECT_SOURCE_DIR}/models -DOUTPUT=${BUILT_IN_MODELS} -P ${CMAKE_CURRENT_LIST_FILE})
  target_sources(tandem PRIVATE ${BUILT_IN_MODELS})
  return()
endif()

set(declared "")
set(all "")
file(GLOB_RECURSE sources ${MODELS}/*.cpp)
foreach(source ${sources})
  file(STRINGS ${source} blocks REGEX "^TANDEM_MODELS\\(")
  foreach(block ${blocks})
    string(REGEX REPLACE "^TANDEM_MODELS\\(([A-Za-z0-9_]+)\\).*" "\\1" name "${block}")
    string(APPEND declared "extern const bool ${name};\n")
    string(APPEND all "${name} && ")
  endforeach()
endforeach()
if(declared STREQUAL "")
  message(FATAL_ERROR "no file in ${MODELS} registers a model with TANDEM_MODELS(name)")
endif()
set(TEXT "// The files of models/ that register models. Written by models/registration.cmake.
namespace tandem::registered {
${declared}
bool built_in_models();
bool built_in_models() {
  return ${all}true;
}
}  // namespace tandem::registered
")
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "@TEXT@" @ONLY)
