# Writes op_names.h, the names of the operators: NAME for every ops/NAME.h whose ops/NAME.cpp records on the tape.
#
#   cmake -DOPS=FOLDER[,FOLDER...] -DOUTPUT=FILE -P op_names.cmake
string(REPLACE "," ";" folders "${OPS}")
set(names "")
foreach(folder ${folders})
  file(GLOB headers RELATIVE ${folder} ${folder}/*.h)
  foreach(header ${headers})
    string(REGEX REPLACE "\\.h$" "" name ${header})
    if(EXISTS ${folder}/${name}.cpp)
      file(STRINGS ${folder}/${name}.cpp records REGEX "(^|[^a-z_])record\\(")
      if(records)
        string(APPEND names "    \"${name}\",\n")
      endif()
    endif()
  endforeach()
endforeach()
if(names STREQUAL "")
  message(FATAL_ERROR "no operator found in ${OPS}: none of its files calls record(")
endif()
file(WRITE ${OUTPUT} "// The operators found in ${OPS}. Written by tests/support/op_names.cmake.\n#pragma once\n\n"
  "inline constexpr const char* kOpFiles[] = {\n${names}};\n")
