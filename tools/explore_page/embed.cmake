# Writes a C++ file with the parts of explore's page as strings (tools/run/explore_page.h declares them):
#
#   cmake -DROOT=SOURCES -DOUTPUT=FILE.cpp -P embed.cmake
set(page ${ROOT}/tools/explore_page)
set(kExploreStyle ${ROOT}/tools/compare/page.css ${page}/explore.css)
set(kExploreBody ${page}/body.html)
set(kExploreScript ${page}/values.js ${page}/pictures.js ${page}/explore.js)

set(text "// Written by tools/explore_page/embed.cmake.\n#include \"tandem/tools/run/explore_page.h\"\n\nnamespace tandem {\n")
foreach(name kExploreStyle kExploreBody kExploreScript)
  string(APPEND text "\nconst char ${name}[] = R\"page(")
  foreach(file ${${name}})
    file(READ ${file} content)
    string(FIND "${content}" ")page\"" end)
    if(NOT end EQUAL -1)
      message(FATAL_ERROR "${file}: holds )page\", which would end the string that it becomes")
    endif()
    string(APPEND text "${content}")
  endforeach()
  string(APPEND text ")page\";\n")
endforeach()
file(WRITE ${OUTPUT} "${text}\n}  // namespace tandem\n")
