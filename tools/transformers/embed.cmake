# Included by CMakeLists.txt: writes the source of modelling_files() (tools/run/modelling_files.h), which holds the Python
# files of this folder as strings, and sets EMBEDDED_FILES to its path. It is written again when one of them changes.
file(GLOB python_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.py)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${python_files})
set(strings "")
foreach(file ${python_files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  string(FIND "${text}" ")python\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "${file}: holds the end of the string that it is written as")
  endif()
  string(APPEND strings "    {\"${name}\", R\"python(${text})python\"},\n")
endforeach()
set(TEXT "// The files in tools/transformers/. Written by embed.cmake there.
#include \"tandem/tools/run/modelling_files.h\"

namespace tandem {
namespace {

constexpr ModellingFile kFiles[] = {
${strings}};

}  // namespace

std::span<const ModellingFile> modelling_files() {
  return kFiles;
}

}  // namespace tandem
")
set(EMBEDDED_FILES ${PROJECT_BINARY_DIR}/generated/modelling_files.cpp)
file(CONFIGURE OUTPUT ${EMBEDDED_FILES} CONTENT "@TEXT@" @ONLY)
