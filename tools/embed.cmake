# Writes a C++ file that holds files of this folder as strings (tools/run/embedded_files.h):
#
#   cmake -DOUTPUT=FILE.cpp "-DFILES=explore_page/body.html|explore_page/explore.js" -P embed.cmake
string(REPLACE "|" ";" FILES "${FILES}")
set(strings "")
foreach(name ${FILES})
  file(READ ${CMAKE_CURRENT_LIST_DIR}/${name} text)
  string(FIND "${text}" ")embedded\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "${name}: holds )embedded\", which would end the string that it becomes")
  endif()
  string(APPEND strings "    {\"${name}\", R\"embedded(${text})embedded\"},\n")
endforeach()
file(WRITE ${OUTPUT} "// Written by tools/embed.cmake.
#include \"tandem/tools/run/embedded_files.h\"

namespace tandem {
namespace {

constexpr EmbeddedFile kFiles[] = {
${strings}};

}  // namespace

std::span<const EmbeddedFile> embedded_files() {
  return kFiles;
}

}  // namespace tandem
")
