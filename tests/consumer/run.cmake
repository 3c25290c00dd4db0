# The ctest `consumer`: installs the built Tandem into an empty folder; compiles all installed headers, in a project with Tandem's
# public dependencies alone; then configures, builds and runs this project with CMAKE_PREFIX_PATH alone to
# say where Tandem is: its checks, and a model of its own that is trained, stopped, resumed, evaluated and sampled.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(status)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

# expect(CODE TEXT COMMAND...): the command ends with this exit code, and what it writes has the text.
function(expect code text)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE out)
  string(FIND "${out}" "${text}" at)
  if(NOT status EQUAL code OR at LESS 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "expected exit code ${code} and '${text}' of: ${command}\nexit code ${status}:\n${out}")
  endif()
endfunction()

# configure_and_build(SOURCE BUILD)
function(configure_and_build source build)
  run(${CMAKE_COMMAND} -S ${source} -B ${build} -G ${GENERATOR} -DCMAKE_BUILD_TYPE=${CONFIG} -DCMAKE_CXX_COMPILER=${COMPILER}
    -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_PREFIX_PATH=${WORK}/installed)
  run(${CMAKE_COMMAND} --build ${build} --config ${CONFIG})
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${TANDEM_BUILD} --config ${CONFIG} --prefix ${WORK}/installed)

# Headers of the GPU need its toolkit.
file(GLOB_RECURSE headers RELATIVE ${WORK}/installed/include ${WORK}/installed/include/*.h)
list(FILTER headers EXCLUDE REGEX "/cuda/")
set(includes "// Every installed header.\n")
foreach(header ${headers})
  string(APPEND includes "#include \"${header}\"\n")
endforeach()
string(APPEND includes "
TANDEM_MODELS(taken) {  // a name that a model of Tandem has
  register_model({\"lstm\", [](const std::string&, uint64_t, Device) { return std::unique_ptr<LanguageModel>(); },
                  [] { return std::vector<Preset>(); }});
}
int main(int argc, char** argv) {
  return tandem::programs_main(argc, argv);
}
")
file(WRITE ${WORK}/headers/headers.cpp "${includes}")
file(WRITE ${WORK}/headers/CMakeLists.txt "cmake_minimum_required(VERSION 3.22)
project(headers LANGUAGES CXX)
find_package(tandem 0.2 REQUIRED)
if(TARGET nlohmann_json::nlohmann_json OR TARGET CLI11::CLI11)
  message(FATAL_ERROR \"a private dependency is asked for\")
endif()
add_executable(headers headers.cpp)
target_link_libraries(headers PRIVATE tandem::training tandem::testing)
")
configure_and_build(${WORK}/headers ${WORK}/headers/build)
expect(1 "error: register_model: lstm is registered already" ${WORK}/headers/build/headers train text)

configure_and_build(${CONSUMER} ${WORK}/build)
run(${WORK}/build/checks)

set(mingru ${WORK}/build/mingru)
set(size --device=cpu --precision=f32 --d=64 --layers=2 --dropout=0.1 --batch-size=4 --unroll=32 --eval-window=64
  --eval-batch-size=2 --eval-bytes=2000 --eval-every=40 --steps=120 --warmup=10 --lr=1e-2 --sample-bytes=20)
get_filename_component(text ${CONSUMER}/../../autograd/README.md ABSOLUTE)
expect(0 "generate" ${mingru} --help)
expect(0 "mingru: laptop" ${mingru} train --help)
expect(2 "mingru: no program is named" ${mingru})
expect(2 "`mingru train --help` lists the options" ${mingru} train ${text} --model=gpt)
run(${mingru} train ${text} --out=${WORK}/whole ${size})
run(${mingru} train ${text} --out=${WORK}/stopped ${size} --max-steps=57)
run(${mingru} train ${text} --out=${WORK}/stopped --resume --device=cpu)
foreach(name last best)  # a run that was stopped and resumed ends with the files of one that was not
  run(${CMAKE_COMMAND} -E compare_files ${WORK}/whole/${name}.safetensors ${WORK}/stopped/${name}.safetensors)
endforeach()
set(checkpoint --checkpoint=${WORK}/whole/best.safetensors --device=cpu)
expect(0 "\nbpc: " ${mingru} evaluate ${checkpoint} --corpus=${text} --split=dev)
execute_process(COMMAND ${mingru} evaluate ${checkpoint} --corpus=${text} --split=dev --json OUTPUT_VARIABLE scores)
string(JSON bpc GET "${scores}" bpc)
if(NOT bpc LESS 5)  # symbols that are guessed blindly cost more than 6 bits
  message(FATAL_ERROR "the trained model needs ${bpc} bits per character")
endif()
expect(0 "A model" ${mingru} generate ${checkpoint} "--prompt=A model" --bytes=20)
run(${mingru} quantize ${WORK}/whole/best.safetensors --out=${WORK}/quantized --bits=8 --device=cpu)
run(${mingru} prune ${WORK}/whole/best.safetensors --out=${WORK}/pruned --sparsity=50 --device=cpu)

# The installed programs work, and say what they lack for a model that they do not know.
set(bin ${WORK}/installed/bin)
foreach(name train evaluate generate prune quantize export)
  expect(0 "tandem-${name}" ${bin}/tandem-${name} --help)
endforeach()
expect(1 "model: mingru is not known" ${bin}/tandem-evaluate ${checkpoint} --corpus=${text})
expect(0 "steps of" ${bin}/tandem-train ${text} --model=sru --d=16 --layers=1 --out=${WORK}/sru --max-steps=2 --device=cpu
  --eval-batch-size=1 --eval-window=64 --sample-bytes=0)
expect(1 "the model is mingru" ${mingru} export ${WORK}/whole/best.safetensors --format=transformers --out=${WORK}/exported)
expect(0 "written: " ${bin}/tandem-export ${WORK}/sru/last.safetensors --format=transformers --out=${WORK}/exported)
if(NOT EXISTS ${WORK}/exported/modeling_tandem.py)  # the program brings the Python files along
  message(FATAL_ERROR "tandem-export wrote no modeling_tandem.py")
endif()

# The model's length, beside that of the same in PyTorch.
foreach(file ${CONSUMER}/mingru.cpp ${CONSUMER}/main.cpp ${CONSUMER}/../../tools/pytorch/mingru.py)
  file(READ ${file} content)
  string(REGEX MATCHALL "\n" lines "${content}")
  list(LENGTH lines count)
  get_filename_component(name ${file} NAME)
  message(STATUS "${name}: ${count} lines")
endforeach()
