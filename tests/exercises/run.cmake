# The ctest `student_checks`: every exercise is judged wrong as it is handed out, with a hint that names the mistake, and
# right with the answers that lie here. STARTS and SOLUTIONS are the programs with all checks, and ROOT the sources.
set(hints
  "01 the gradient of every element is 0.5 times"
  "02 what arrives at a is the gradient of b"
  "03 row 1 was taken three times, and its gradient is"
  "04 log_cosh\\(0.5\\) should be 0.12"
  "05 for small logits the tape says: row_sums: output 0.* is not finite, and its inputs are"
  "06 need the memory of [0-9.]+ activations at their peak, and the budget is 32"
  "07 the gradient of column for an x of 3 by 4 is 0 at element 0, and differences"
  "08 update 0, in the warm-up, has the rate 0.1 instead of 0.025"
  "09 the gradient of h0 \\(1 step\\) is 0 at element 0"
  "10 in pieces of 5 of 10 rows the first element of the gradient is 2 times")

# Runs a program for one exercise; sets `status` and `output`.
macro(judge program number)
  execute_process(COMMAND ${program} ${number} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
endmacro()

set(faults "")
file(READ ${ROOT}/tools/exercises/README.md page)
foreach(folder tools/exercises/start tools/exercises/check tests/exercises)
  file(GLOB files RELATIVE ${ROOT}/${folder} ${ROOT}/${folder}/[0-9]*.cpp)
  list(LENGTH files count)
  if(NOT count EQUAL 10)
    string(APPEND faults "${folder} has ${count} exercises, not 10\n")
  endif()
  foreach(file ${files})
    if(NOT EXISTS ${ROOT}/tools/exercises/start/${file})
      string(APPEND faults "${folder}/${file}: there is no exercise of this name in tools/exercises/start\n")
    endif()
    string(FIND "${page}" "start/${file}" found)
    if(found EQUAL -1)
      string(APPEND faults "tools/exercises/README.md does not name start/${file}\n")
    endif()
  endforeach()
endforeach()

foreach(line ${hints})
  string(SUBSTRING "${line}" 0 2 number)
  string(SUBSTRING "${line}" 3 -1 hint)
  judge(${STARTS} ${number})
  if(NOT status EQUAL 1 OR NOT output MATCHES "^exercise ${number}: wrong\n  .*${hint}")
    string(APPEND faults "the start of ${number} should be judged wrong, with the hint ${hint}; status ${status}:\n${output}\n")
  endif()
  judge(${SOLUTIONS} ${number})
  if(NOT status EQUAL 0 OR NOT output STREQUAL "exercise ${number}: right\n")
    string(APPEND faults "the answer to ${number} should be judged right; status ${status}:\n${output}\n")
  endif()
endforeach()
judge(${STARTS} 11)
if(NOT status EQUAL 2 OR NOT output STREQUAL "error: there is no exercise 11\n")
  string(APPEND faults "exercise 11 should be refused; status ${status}:\n${output}\n")
endif()
if(faults)
  message(FATAL_ERROR "${faults}")
endif()
message("ten exercises: starts are judged wrong, answers right")
